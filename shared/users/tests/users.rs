//! The common tests of a resource.

resource::test_resource!(users::User);
