//! Every feed, against recordings of what daemons really sent, against scripted routers, and against live daemons
//! in a network-namespace lab. `poll` and `push` need root and the daemons.

mod bmp_captures;
mod bmp_mangled;
mod bmp_station;
mod mrt;
mod passwords;
mod poll;
mod push;
mod shadow;
