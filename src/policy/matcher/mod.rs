//! Finding the rules that fit a name.

pub mod build;
pub mod glob;
pub mod hash;
pub mod networks;
pub mod packed;
pub mod table;
