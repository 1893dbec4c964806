//! Nothing depends on this package, and it has no code. Cargo unifies the features of the packages that one command
//! selects, so every command that builds here selects this package too. Then all of them ask for the same features, and
//! each dependency compiles once. Packages for Lambda are built without it: they keep their own features.
//!
//! A test holds the list to what the workspace asks for: `every_command_builds_dependencies_with_the_same_features`.
