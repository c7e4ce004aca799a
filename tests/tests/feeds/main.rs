//! Every feed, against recordings of what daemons really sent, against scripted routers, and against live daemons
//! in a network-namespace lab. `poll*` and `*_live` need root and the daemons of both Debian releases.

mod blackhole;
mod bmp_captures;
mod bmp_listener;
mod bmp_live;
mod bmp_mangled;
mod control;
mod first_configuration;
mod keys;
mod live;
mod mrt;
mod passwords;
mod poll;
mod poll_special;
mod shadow;
mod shadow_live;
mod vanished;
mod versions;
