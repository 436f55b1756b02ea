//! Start, reload, drain: the real program asked to by signals.
