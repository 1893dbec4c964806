//! Tables of numbers, for a terminal.

/// A table with a title in its first column and numbers in the others.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates a table with these column heads.
    pub(crate) fn new(heads: impl IntoIterator<Item = String>) -> Self {
        Self { rows: vec![heads.into_iter().collect()] }
    }

    pub(crate) fn row(&mut self, title: &str, cells: impl IntoIterator<Item = String>) {
        self.rows.push(std::iter::once(title.to_owned()).chain(cells).collect());
    }

    /// Returns the lines. The first column is aligned to the left, the others to the right.
    pub(crate) fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate();
            let cells = cells.map(|(column, (cell, width))| match column {
                0 => format!("{cell:width$}"),
                _ => format!("  {cell:>width$}"),
            });
            cells.collect::<String>().trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// Formats a number for people: 0.25, 12.5, 10,000.
pub(crate) fn number(value: f64) -> String {
    // A calculated value is not exact: 199.99999999999997 means 200, and -1e-9 means 0, not -0.
    let value = (value * 1e3).round() / 1e3 + 0.0;
    let decimals = match value {
        whole if whole.fract() == 0.0 || whole >= 100.0 => 0,
        tens if tens >= 10.0 => 1,
        _ => 2,
    };
    grouped(&format!("{value:.decimals$}"))
}

/// Formats dollars for people: 0.26, 1,234.56.
pub(crate) fn dollars(value: f64) -> String {
    grouped(&format!("{value:.2}"))
}

/// Puts commas between the thousands.
fn grouped(digits: &str) -> String {
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let has_comma = |index: usize| index > 0 && (whole.len() - index).is_multiple_of(3);
    let with_comma = |(index, digit)| has_comma(index).then_some(',').into_iter().chain([digit]);
    let whole: String = whole.char_indices().flat_map(with_comma).collect();
    format!("{whole}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0.0, 0.25, 999.0, 1_000.0, 1_234_567.8].map(number), ["0", "0.25", "999", "1,000", "1,234,568"]);
        assert_eq!([12.34, 199.999_999_9, -1e-9].map(number), ["12.3", "200", "0"]);
        assert_eq!([0.0, 12.345, 1_234.5].map(dollars), ["0.00", "12.35", "1,234.50"]);
    }

    #[test]
    fn numbers_end_below_each_other() {
        let mut table = Table::new(["what", "a", "b"].map(str::to_owned));
        table.row("long title", ["1,000", "2"].map(str::to_owned));
        assert_eq!(table.lines(), ["what            a  b", "long title  1,000  2"]);
    }
}
