//! Answers that need no upstream: blocked names, local records, special-use names, ANY.

pub mod block;
pub mod local;
pub mod own;

pub use block::{BlockAnswer, BlockKind};
pub use local::{Local, LocalRecords};
