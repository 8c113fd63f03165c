//! The program against servers that answer badly, and networks that lose what was answered. The simulator behind the
//! [`proxy::Proxy`] holds the truth.

mod answers;
mod mixed;
mod network;
mod play;
mod proxy;
