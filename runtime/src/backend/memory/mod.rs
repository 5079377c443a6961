//! Jobs in this process's memory: the reference model.
