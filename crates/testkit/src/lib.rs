//! For tests: an S3 server in this process, tiny models.

pub mod s3;
pub mod tiny_model;
