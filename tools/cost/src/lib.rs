//! The cost of the service on AWS: list prices, the use of AWS by the traffic at a stage, and the bill.

pub mod bill;
pub mod model;
pub mod prices;
pub mod traffic;
