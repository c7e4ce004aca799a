//! The reader of BGP and BMP: at its edges, on anything at all, and beside two other parsers.

mod differential;
mod edges;
mod properties;
