//! Plan against reality, and proof of every row: the program itself against the simulator over TCP, and the library
//! against it in process under paused time.

mod binary;
mod guards;
mod looks;
mod never_somebody_else;
mod outcomes;
mod overlap;
mod paused;
mod plans;
mod still;
mod stops;
mod unanswered;
mod without_a_look;
