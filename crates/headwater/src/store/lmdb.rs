//! State on disk, in LMDB.
