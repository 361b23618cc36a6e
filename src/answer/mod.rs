//! Answers that need no upstream: blocked names, local records, special-use names, ANY.

pub mod block;
pub mod designated;
pub mod local;
pub mod own;

pub use block::{BlockAnswer, BlockKind};
pub use designated::Designated;
pub use local::{Local, LocalRecords};
