#!/bin/sh
# Install, run, reload, upgrade while packets flow, remove: in a throw-away Debian machine, as its root. Good packets are pings
# from what the peer announces, spoofed ones from what it does not; their answers are counted. `cargo xtask packages` runs it.
set -eu

fail() {
    echo "FAILED: $*"
    systemctl status bcp38 --no-pager || true
    journalctl -u bcp38 --no-pager | tail -n 30 || true
    exit 1
}

# Sends $2 pings from address $1, ten a second; prints how many were answered.
answered() {
    ip netns exec peer ping -q -i 0.1 -W 1 -c "$2" -I "$1" 198.51.100.10 | sed -n 's/.* \([0-9]*\) received.*/\1/p'
}

# Waits up to 30 s until no spoofed packet is answered.
enforcing() {
    for _ in $(seq 30); do
        [ "$(answered 8.8.8.8 2)" = 0 ] && return
        sleep 1
    done
    fail "spoofed packets pass: $1"
}

echo "== a router and a peer on one cable"
ip link set lo up
ip netns add peer
ip link add ixp0 type veth peer name far netns peer
ip address add 203.0.113.1/24 dev ixp0
ip address add 198.51.100.10/32 dev lo
ip link set ixp0 up
ip -n peer address add 203.0.113.10/24 dev far
ip -n peer link set lo up
ip -n peer link set far up
ip -n peer address add 45.146.194.1/32 dev lo
ip -n peer address add 8.8.8.8/32 dev lo
ip -n peer route add 198.51.100.0/24 via 203.0.113.1
ip route add default via 203.0.113.10
[ "$(answered 45.146.194.1 3)" = 3 ] || fail "the cable does not work"

echo "== install"
dpkg -i /root/first.deb
systemctl is-enabled --quiet bcp38 && fail "enabled by installing it"
systemctl is-active --quiet bcp38 && fail "started by installing it"
bcp38 check-config /etc/bcp38/bcp38.toml >/dev/null || fail "the installed configuration is refused"
[ -f /usr/share/man/man1/bcp38-run.1.gz ] || fail "no man page"
[ "$(stat -c %s /usr/bin/bcp38)" -lt 30000000 ] || fail "the program is not stripped" # with debug information it is several times as large

echo "== run"
mac=$(ip netns exec peer cat /sys/class/net/far/address)
cat >/etc/bcp38/bcp38.toml <<END
[router]
asn = 64500
prefixes = ["198.51.100.0/24"]
bogon_exceptions = ["198.51.100.0/24", "203.0.113.0/24"]

[[interface]]
name = "ixp0"
kind = "port"

[[peer]]
name = "icrc"
asn = 57965
interface = "ixp0"
addresses = ["203.0.113.10"]
macs = ["$mac"]
families = ["ipv4"]
mode = "enforce"

[[feed]]
kind = "static"
peer = "icrc"
advertised_by_peer = ["45.146.194.0/23"]
advertised_to_peer = ["198.51.100.0/24"]

[limits]
max_peers = 16
table_memory_mib = 8
END
systemctl enable --now bcp38 || fail "does not start"
enforcing "after the start"
[ "$(answered 45.146.194.1 10)" = 10 ] || fail "good packets are lost"
bcp38 status

echo "== reload"
systemctl reload bcp38 || fail "a good configuration is refused"
cp /etc/bcp38/bcp38.toml /root/good.toml
printf '\n[[feed]]\nkind = "bmp"\nlisten = "192.0.2.99:11019"\n' >>/etc/bcp38/bcp38.toml
systemctl reload bcp38 && fail "a feed that cannot listen is not refused"
bcp38 reload && fail "a feed that cannot listen is not refused"
cp /root/good.toml /etc/bcp38/bcp38.toml
systemctl is-active --quiet bcp38 || fail "a refused reload ended the daemon"
enforcing "after a refused reload"

echo "== upgrade while packets flow"
before=$(systemctl show -P MainPID bcp38)
answered 45.146.194.1 150 >/root/good &
good=$!
answered 8.8.8.8 150 >/root/spoofed &
spoofed=$!
sleep 3
dpkg -i /root/second.deb
wait "$good" "$spoofed"
[ "$(cat /root/good)" = 150 ] || fail "good packets lost by an upgrade: $(cat /root/good) of 150 arrived"
[ "$(cat /root/spoofed)" = 0 ] || fail "spoofed packets passed during an upgrade: $(cat /root/spoofed)"
[ "$(systemctl show -P MainPID bcp38)" != "$before" ] || fail "the upgrade did not restart the daemon"
systemctl is-active --quiet bcp38 || fail "the daemon does not run after an upgrade"
cmp /root/good.toml /etc/bcp38/bcp38.toml || fail "the upgrade changed the configuration"

echo "== a daemon that is killed is started again"
systemctl kill --signal=KILL bcp38
for _ in $(seq 30); do
    systemctl is-active --quiet bcp38 && break
    sleep 1
done
enforcing "after it was killed"

echo "== remove"
dpkg -r bcp38
[ ! -e /sys/fs/bpf/bcp38 ] || fail "pins are left: $(ls -R /sys/fs/bpf)"
ip link show ixp0 | grep -q xdp && fail "the program is still attached"
[ "$(answered 8.8.8.8 5)" = 5 ] || fail "a removed filter still drops"
[ -f /etc/bcp38/bcp38.toml ] || fail "removing takes the configuration"
dpkg -P bcp38
[ ! -e /etc/bcp38 ] || fail "purging leaves the configuration"

echo "== the same as an rpm"
rpm -i --nodeps /root/bcp38.rpm
cp /root/good.toml /etc/bcp38/bcp38.toml
systemctl start bcp38 || fail "does not start"
enforcing "from the rpm"
rpm -e bcp38
[ ! -e /sys/fs/bpf/bcp38 ] || fail "pins are left: $(ls -R /sys/fs/bpf)"
[ "$(answered 8.8.8.8 5)" = 5 ] || fail "a removed filter still drops"
echo "== passed"
