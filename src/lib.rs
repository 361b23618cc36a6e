pub mod answer;
pub mod cache;
pub mod config;
pub mod device;
pub mod lists;
pub mod policy;
pub mod wire;
