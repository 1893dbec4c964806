//! AWS list prices of the services in use: US dollars in us-east-1, without free tiers, discounts or taxes, looked up in
//! November 2026. If a price changes, change it here only.

/// The bytes of a gigabyte. AWS bills some services by 2^30 bytes, which is 7 % cheaper.
pub const GIGABYTE: f64 = 1e9;
/// The hours of a month, as on AWS's own price lists.
pub const HOURS_PER_MONTH: f64 = 730.0;
/// The seconds of a month, to turn a rate into a month's traffic.
pub const SECONDS_PER_MONTH: f64 = HOURS_PER_MONTH * 3_600.0;

/// The price of one service.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// The service, and how AWS meters it.
    pub name: &'static str,
    /// The unit that AWS bills.
    pub unit: &'static str,
    /// The tiers: the quantity in a month up to which a tier applies, and its dollars for one unit. The last tier has no
    /// end.
    pub tiers: &'static [(f64, f64)],
    /// The page that publishes the price.
    pub source: &'static str,
}

impl Price {
    /// Returns the dollars for the first unit.
    #[must_use]
    pub fn list(&self) -> f64 {
        self.tiers.first().map_or(0.0, |(_, dollars)| *dollars)
    }

    /// Returns the dollars for `units` in a month, each at the price of its tier.
    #[must_use]
    pub fn of(&self, units: f64) -> f64 {
        let mut from = 0.0;
        let of_tier = |(to, dollars): &(f64, f64)| {
            let inside = (units.min(*to) - from).max(0.0);
            from = *to;
            inside * dollars
        };
        self.tiers.iter().map(of_tier).sum()
    }
}

const NO_END: f64 = f64::INFINITY;

/// The front door.
pub const HTTP_API: Price = Price {
    name: "HTTP API, metered by 512 KB",
    unit: "million requests",
    tiers: &[(300.0, 1.00), (NO_END, 0.90)],
    source: "https://aws.amazon.com/api-gateway/pricing/",
};
/// Invocations of functions, from any source.
pub const LAMBDA_REQUESTS: Price = Price {
    name: "Lambda, requests",
    unit: "million requests",
    tiers: &[(NO_END, 0.20)],
    source: "https://aws.amazon.com/lambda/pricing/",
};
/// Memory × time, on Graviton.
pub const LAMBDA_ARM64: Price = Price {
    name: "Lambda, duration on arm64, by the millisecond",
    unit: "million GB-seconds",
    tiers: &[(7_500.0, 13.3334), (18_750.0, 12.0001), (NO_END, 10.6667)],
    source: "https://aws.amazon.com/lambda/pricing/",
};
/// Memory × time, on x86.
pub const LAMBDA_X86_64: Price = Price {
    name: "Lambda, duration on x86_64, by the millisecond",
    unit: "million GB-seconds",
    tiers: &[(6_000.0, 16.6667), (15_000.0, 15.0), (NO_END, 13.3334)],
    source: "https://aws.amazon.com/lambda/pricing/",
};
/// A strongly consistent read takes one unit for every 4 KB, an eventually consistent read half of that.
pub const READ_UNITS: Price = Price {
    name: "DynamoDB on demand, read request units of 4 KB",
    unit: "million units",
    tiers: &[(NO_END, 0.125)],
    source: "https://aws.amazon.com/dynamodb/pricing/on-demand/",
};
/// A write takes one unit for every 1 KB, twice that in a transaction, and the same again for each list entry.
pub const WRITE_UNITS: Price = Price {
    name: "DynamoDB on demand, write request units of 1 KB",
    unit: "million units",
    tiers: &[(NO_END, 0.625)],
    source: "https://aws.amazon.com/dynamodb/pricing/on-demand/",
};
/// Tables and their indexes.
pub const TABLE_STORAGE: Price = Price {
    name: "DynamoDB, storage",
    unit: "GB-months",
    tiers: &[(NO_END, 0.25)],
    source: "https://aws.amazon.com/dynamodb/pricing/on-demand/",
};
/// Continuous backups of tables, without their indexes.
pub const POINT_IN_TIME_RECOVERY: Price = Price {
    name: "DynamoDB, point-in-time recovery",
    unit: "GB-months",
    tiers: &[(NO_END, 0.20)],
    source: "https://aws.amazon.com/dynamodb/pricing/on-demand/",
};
/// Sends, receives and deletes, also polls that return no message.
pub const SQS_STANDARD: Price = Price {
    name: "SQS, standard queue, by 64 KB",
    unit: "million requests",
    tiers: &[(100_000.0, 0.40), (200_000.0, 0.30), (NO_END, 0.24)],
    source: "https://aws.amazon.com/sqs/pricing/",
};
/// A message that names its group on a standard queue, as all messages of the service do. The source is not AWS itself.
pub const SQS_FAIR: Price = Price {
    name: "SQS, fair queues, in addition to a standard queue",
    unit: "million requests",
    tiers: &[(NO_END, 0.10)],
    source: "https://cloudburn.io/blog/amazon-sqs-pricing",
};
/// The same requests on a FIFO queue.
pub const SQS_FIFO: Price = Price {
    name: "SQS, FIFO queue, by 64 KB",
    unit: "million requests",
    tiers: &[(100_000.0, 0.50), (200_000.0, 0.40), (NO_END, 0.35)],
    source: "https://aws.amazon.com/sqs/pricing/",
};
/// The data in the cache, or the minimum that AWS bills: [`CACHE_GB_MIN`].
pub const CACHE_STORAGE: Price = Price {
    name: "ElastiCache Serverless for Valkey, storage, at least 0.1 GB",
    unit: "GB-hours",
    tiers: &[(NO_END, 0.084)],
    source: "https://aws.amazon.com/elasticache/pricing/",
};
/// Requests to the cache.
pub const CACHE_UNITS: Price = Price {
    name: "ElastiCache Serverless for Valkey, processing units (ECPU) of 1 KB",
    unit: "million units",
    tiers: &[(NO_END, 0.0023)],
    source: "https://aws.amazon.com/elasticache/pricing/",
};
/// A connection from a VPC to one service of AWS.
pub const ENDPOINT_HOURS: Price = Price {
    name: "Interface endpoint, per availability zone",
    unit: "hours",
    tiers: &[(NO_END, 0.01)],
    source: "https://aws.amazon.com/privatelink/pricing/",
};
/// All logs of the functions and of the front door.
pub const LOGS: Price = Price {
    name: "CloudWatch Logs, ingestion of Lambda's and other vended logs",
    unit: "GB",
    tiers: &[(10_000.0, 0.50), (30_000.0, 0.25), (50_000.0, 0.10), (NO_END, 0.05)],
    source: "https://aws.amazon.com/cloudwatch/pricing/",
};
/// Custom metrics. Each set of dimensions is one metric, in every month in which a function writes it.
pub const METRICS: Price = Price {
    name: "CloudWatch, custom metrics",
    unit: "metrics",
    tiers: &[(10_000.0, 0.30), (250_000.0, 0.10), (1_000_000.0, 0.05), (NO_END, 0.02)],
    source: "https://aws.amazon.com/cloudwatch/pricing/",
};
/// An alarm on one metric.
pub const ALARMS: Price = Price {
    name: "CloudWatch, alarms of standard resolution",
    unit: "alarms",
    tiers: &[(NO_END, 0.10)],
    source: "https://aws.amazon.com/cloudwatch/pricing/",
};
/// A dashboard.
pub const DASHBOARDS: Price = Price {
    name: "CloudWatch, dashboards",
    unit: "dashboards",
    tiers: &[(NO_END, 3.00)],
    source: "https://aws.amazon.com/cloudwatch/pricing/",
};
/// Sampled traces.
pub const TRACES: Price = Price {
    name: "X-Ray, traces recorded",
    unit: "million traces",
    tiers: &[(NO_END, 5.00)],
    source: "https://aws.amazon.com/xray/pricing/",
};
/// A secret for a month. Reads of it cost next to nothing.
pub const SECRETS: Price = Price {
    name: "Secrets Manager, secrets",
    unit: "secrets",
    tiers: &[(NO_END, 0.40)],
    source: "https://aws.amazon.com/secrets-manager/pricing/",
};
/// Responses to clients, from any service of AWS.
pub const DATA_OUT: Price = Price {
    name: "Data transfer out to the internet",
    unit: "GB",
    tiers: &[(10_000.0, 0.09), (50_000.0, 0.085), (150_000.0, 0.07), (NO_END, 0.05)],
    source: "https://aws.amazon.com/ec2/pricing/on-demand/",
};

/// The minimum that AWS bills as stored in a cache, in gigabytes. Source: that of [`CACHE_STORAGE`].
pub const CACHE_GB_MIN: f64 = 0.1;

/// All prices.
pub const ALL: [Price; 21] = [
    HTTP_API,
    LAMBDA_REQUESTS,
    LAMBDA_ARM64,
    LAMBDA_X86_64,
    READ_UNITS,
    WRITE_UNITS,
    TABLE_STORAGE,
    POINT_IN_TIME_RECOVERY,
    SQS_STANDARD,
    SQS_FAIR,
    SQS_FIFO,
    CACHE_STORAGE,
    CACHE_UNITS,
    ENDPOINT_HOURS,
    LOGS,
    METRICS,
    ALARMS,
    DASHBOARDS,
    TRACES,
    SECRETS,
    DATA_OUT,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn close(one: f64, other: f64) {
        assert!((one - other).abs() < 1e-9, "{one} is not {other}");
    }

    #[test]
    fn every_unit_has_the_price_of_its_tier() {
        close(HTTP_API.of(0.0), 0.0);
        close(HTTP_API.of(300.0), 300.0);
        close(HTTP_API.of(1_300.0), 300.0 + 900.0);
        close(LOGS.of(60_000.0), 5_000.0 + 5_000.0 + 2_000.0 + 500.0);
    }

    #[test]
    fn every_price_has_a_source_and_tiers_without_gaps_that_get_cheaper() {
        for Price { name, tiers, source, .. } in ALL {
            assert!(source.starts_with("https://"), "{name}");
            assert!(tiers.iter().all(|(_, dollars)| *dollars > 0.0), "{name}");
            let is_cheaper = |pair: &[(f64, f64)]| pair[0].0 < pair[1].0 && pair[0].1 > pair[1].1;
            assert!(tiers.windows(2).all(is_cheaper), "{name}");
            assert_eq!(tiers.last().map(|(to, _)| *to), Some(NO_END), "{name}");
        }
    }
}
