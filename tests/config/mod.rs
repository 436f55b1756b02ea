//! What an operator writes: read whole, every fault told at once, every knob named in the example.
