//! Finding the rules that fit a name.

pub mod glob;
pub mod networks;
pub mod table;
