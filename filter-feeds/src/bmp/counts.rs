//! What a listener did not turn into events, by reason. Nothing is left out without being counted here.

/// Why a message, a part of one, or a route became no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum LeftOut {
    /// An attribute of another family than IPv4 and IPv6 unicast.
    ForeignFamily,
    /// A repeated path attribute, discarded as RFC 7606 section 3 g has it.
    RepeatedAttribute,
    /// A message about the pseudo-peers 0.0.0.0 and `::`: the router's own routes.
    LocallyOriginated,
    /// A message about the Loc-RIB.
    LocRib,
    /// Routes of a VRF that no peer and no route server is in.
    OtherVrf,
    /// A message about Adj-RIB-Out before export policy.
    AdjOutPre,
    /// A message about a session that is not up.
    UnknownSession,
    /// Peer Up of a session that is up, Peer Down of one that is not.
    Duplicate,
    /// Route mirroring.
    Mirroring,
    /// An UPDATE that could be read with and without path identifiers; its table is lost.
    Undetermined,
    /// An UPDATE with attributes and without any prefix.
    NoRoutes,
    /// A statistic we have no use for or cannot read, or of a table that is lost.
    Statistic,
    /// A message of a type, or about a type of peer, that we do not know (RFC 7854 section 4).
    UnknownType,
    /// A message whose per-peer header cannot be read: its session is not known.
    Nameless,
    /// Bytes behind a whole UPDATE: TLVs that some routers append.
    TrailingBytes,
    /// An optional parameter or a capability that is not as its RFC has it, in an OPEN that the router took.
    OddCapability,
    /// A Peer Up that cannot be read: its session counts as down.
    UnreadableOpen,
    /// A route whose path attributes are wrong: withdrawn (RFC 7606).
    TreatedAsWithdrawn,
    /// A BGP message that cannot be read: its table is lost.
    UnreadableUpdate,
    /// A BGP message that is no UPDATE where only UPDATEs may stand.
    NoUpdate,
    /// A session that another router of this feed reports.
    Claimed,
    /// A session beyond the number that is kept.
    TooManySessions,
}

impl LeftOut {
    /// All, in the order of the counters.
    pub const ALL: [Self; 22] = [
        Self::ForeignFamily,
        Self::RepeatedAttribute,
        Self::LocallyOriginated,
        Self::LocRib,
        Self::OtherVrf,
        Self::AdjOutPre,
        Self::UnknownSession,
        Self::Duplicate,
        Self::Mirroring,
        Self::Undetermined,
        Self::NoRoutes,
        Self::Statistic,
        Self::UnknownType,
        Self::Nameless,
        Self::TrailingBytes,
        Self::OddCapability,
        Self::UnreadableOpen,
        Self::TreatedAsWithdrawn,
        Self::UnreadableUpdate,
        Self::NoUpdate,
        Self::Claimed,
        Self::TooManySessions,
    ];

    /// The name in status and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ForeignFamily => "foreign-family",
            Self::RepeatedAttribute => "repeated-attribute",
            Self::LocallyOriginated => "locally-originated",
            Self::LocRib => "loc-rib",
            Self::OtherVrf => "other-vrf",
            Self::AdjOutPre => "adj-rib-out-pre-policy",
            Self::UnknownSession => "unknown-session",
            Self::Duplicate => "duplicate",
            Self::Mirroring => "mirroring",
            Self::Undetermined => "undetermined",
            Self::NoRoutes => "no-routes",
            Self::Statistic => "statistic",
            Self::UnknownType => "unknown-type",
            Self::Nameless => "nameless",
            Self::TrailingBytes => "trailing-bytes",
            Self::OddCapability => "odd-capability",
            Self::UnreadableOpen => "unreadable-open",
            Self::TreatedAsWithdrawn => "treated-as-withdrawn",
            Self::UnreadableUpdate => "unreadable-update",
            Self::NoUpdate => "no-update",
            Self::Claimed => "claimed",
            Self::TooManySessions => "too-many-sessions",
        }
    }
}

/// How often each happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; LeftOut::ALL.len()]);

impl Counts {
    /// How often this one did.
    #[must_use]
    pub const fn of(&self, why: LeftOut) -> u64 {
        self.0[why as usize]
    }

    /// Counts `times` more.
    pub const fn add(&mut self, why: LeftOut, times: u64) {
        self.0[why as usize] += times;
    }

    /// Those that happened, by name.
    pub fn nonzero(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let all = LeftOut::ALL
            .into_iter()
            .map(|why| (why.name(), self.of(why)));
        all.filter(|(_, times)| *times != 0)
    }

    /// All together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Moves everything to `total`.
    pub fn drain_into(&mut self, total: &mut Self) {
        for (total, count) in total.0.iter_mut().zip(&mut self.0) {
            *total += std::mem::take(count);
        }
    }
}
