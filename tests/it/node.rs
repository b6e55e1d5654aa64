//! Both charts on a real node, as an operator installs them: what no emulation of a kubelet shows.

mod agent;
mod backend;
mod crashes;
mod figures;
mod machine;
mod rollout;
mod scene;
mod start;
mod traffic;
