//! One test binary, modules by topic.
mod backend;
