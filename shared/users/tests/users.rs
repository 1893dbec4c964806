//! What every resource is held to.

resource::test_resource!(users::User);
