pub mod config;
pub mod lists;
pub mod policy;
pub mod wire;
