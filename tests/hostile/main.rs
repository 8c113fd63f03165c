//! The program against servers that answer badly, and networks that lose what was answered (RELIABILITY.md, section 9:
//! N and H, and the canary X in every run). The simulator behind the [`proxy::Proxy`] holds the truth.

mod answers;
mod mixed;
mod network;
mod play;
mod proxy;
