//! This package has no code, and no package depends on it. Cargo unifies the features of the packages that one command
//! selects, so every command that builds here selects this package too. Then all commands use the same features, and each
//! dependency compiles once. Packages for Lambda are built without it: they keep their own features.
//!
//! The test `every_command_compiles_dependencies_with_the_same_features` compares the list with the features that the
//! workspace uses.
