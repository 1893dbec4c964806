//! Prints the cost of the service on AWS.

use cost::bill::Bill;
use cost::model::Model;
use cost::prices::{self, Price};
use cost::traffic::Architecture;
use serde::Serialize;

use crate::cli::CostOptions;
use crate::output::{CommandOutput, Failure};
use crate::table::{Table, dollars, number};

/// The result for scripts.
#[derive(Debug, Serialize)]
struct Document<'a> {
    stage: &'a str,
    architecture: Architecture,
    bills: &'a [Bill],
}

/// Calculates the cost.
pub(crate) fn run(options: &CostOptions, stage: Option<&str>) -> Result<CommandOutput, Failure> {
    let model = Model::new(&options.traffic, stage)?;
    let bills: Vec<Bill> = options.rates.iter().map(|rate| Bill::of(&model, *rate)).collect();
    let lines = if options.explain { explained(&model) } else { shown(&model, &bills) };
    let document = Document { stage: &model.config.stage, architecture: options.traffic.arch, bills: &bills };
    Ok(CommandOutput::new(true, &document, lines))
}

/// Names the stage and the architecture, for example `cqrs on arm64`.
fn stage_and_architecture(Model { options, config }: &Model<'_>) -> String {
    format!("{} on {}", config.stage, options.arch)
}

/// Returns the table for people.
fn shown(model: &Model<'_>, bills: &[Bill]) -> Vec<String> {
    let heads = bills.iter().map(|bill| match bill.requests_per_second {
        0.0 => "idle".to_owned(),
        rate => format!("{}/s", number(rate)),
    });
    let title = format!("{}, $ a month", stage_and_architecture(model));
    let mut table = Table::new(std::iter::once(title).chain(heads));
    for (index, item) in bills.first().map(|bill| bill.items.as_slice()).unwrap_or_default().iter().enumerate() {
        let cells = bills.iter().filter_map(|bill| bill.items.get(index)).map(|item| dollars(item.dollars_per_month));
        table.row(item.name, cells);
    }
    table.row("total", bills.iter().map(|bill| dollars(bill.dollars_per_month)));
    let per_million = |bill: &Bill| bill.dollars_per_million_requests.map_or_else(|| "-".to_owned(), dollars);
    table.row("per million requests", bills.iter().map(per_million));
    table.lines()
}

/// Returns lines with the formulae, the prices, and the costs that are not included.
fn explained(model: &Model<'_>) -> Vec<String> {
    let items = Bill::of(model, 1.0).items;
    let mut lines =
        vec![format!("{}, quantity of each item, to be multiplied with its price:", stage_and_architecture(model))];
    lines.extend(items.iter().map(|item| format!("  {:20} {}", item.name, item.formula)));
    lines.push("prices, in $, us-east-1:".to_owned());
    for Price { name, unit, tiers, source } in prices::ALL {
        let tier = |(to, dollars): &(f64, f64)| match to.is_finite() {
            true => format!("{dollars} up to {}", number(*to)),
            false => dollars.to_string(),
        };
        let tiers = tiers.iter().map(tier).collect::<Vec<_>>().join(", then ");
        lines.push(format!("  {name}: {tiers} per {unit}; {source}"));
    }
    lines.push(NOT_INCLUDED.to_owned());
    lines
}

const NOT_INCLUDED: &str = "not included: free tiers, discounts, taxes; cold starts; lists; clients that ask for a \
    command's status or wait for it; Idempotency-Key (1 write unit); redeliveries; storage of logs; the nightly \
    comparison of the stores; Contributor Insights; domain events; reading traces; traffic of other accounts that share \
    the tiers";

#[cfg(test)]
mod tests {
    use cost::traffic::TrafficOptions;

    use super::*;

    #[test]
    fn the_bill_and_its_explanation_say_which_processors_they_are_for() {
        for (arguments, arch) in [(&[][..], "arm64"), (&["--arch", "x86_64"], "x86_64")] {
            let options = TrafficOptions::of(arguments);
            let model = Model::new(&options, None).unwrap();
            let heads = [shown(&model, &[]), explained(&model)].map(|lines| lines[0].clone());
            assert!(heads.iter().all(|head| head.starts_with(&format!("cqrs on {arch}, "))), "{heads:?}");
            assert_eq!(serde_json::to_value(options.arch).unwrap(), arch);
        }
    }

    #[test]
    fn the_explanation_names_every_item_and_every_source() {
        let options = TrafficOptions::of(&[]);
        let text = explained(&Model::new(&options, None).unwrap()).join("\n");
        for item in Bill::of(&Model::new(&options, None).unwrap(), 1.0).items {
            assert!(text.contains(item.name) && text.contains(item.formula), "{}", item.name);
        }
        assert!(prices::ALL.iter().all(|price| text.contains(price.source)));
    }
}
