//! Both charts on a real node, as an operator installs them: what no emulation of a kubelet shows.

mod crashes;
mod machine;
mod scene;
mod start;
