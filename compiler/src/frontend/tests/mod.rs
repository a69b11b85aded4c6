//! Tests of the front end. They need no file beside the repository; with `../shared` present they also read its models.

mod corpus;
mod damage;
mod data;
mod malformed;
mod roundtrip;
mod sample;
mod schema;
mod sniff;
