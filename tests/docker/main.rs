//! The image, built and run for real by a Docker engine that reaches no registry: every image here is made FROM scratch.
//!
//! | file | what it holds |
//! |---|---|
//! | `image.rs` | what is in the image, by both builders |
//! | `running.rs` | the relay as PID 1 of a container without privileges: mail, health, logs, keys, its end |
//! | `compose.rs` | `docker/compose.yaml` with one command |
//! | `manifests.rs` | `docker/kubernetes/` against the API's schemas and the pod security standard |
//!
//! `tests/run` builds the static program and names it in `POSTSEAL_STATIC`. Without an engine, or the program, a test says so and passes;
//! with `CI=true` it fails. Containers, networks, volumes and images carry a label with the test's process id and are removed by it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod compose;
mod engine;
mod image;
mod manifests;
mod running;
