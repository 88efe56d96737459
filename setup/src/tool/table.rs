//! Tables of text for the terminal.

/// Prints rows in columns: the first to the left, the others to the right. An empty row is a line.
pub fn print(rows: &[Vec<String>]) {
    // Who reads no more has seen enough.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text(rows).as_bytes());
}

fn text(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        if row.is_empty() {
            line = "-".repeat(widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1));
        }
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column] - cell.chars().count());
            match column {
                0 => line = format!("{cell}{pad}"),
                _ => line = format!("{line}  {pad}{cell}"),
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_under_each_other() {
        let rows = [
            vec!["what".into(), "bits".into()],
            vec![],
            vec!["a".into(), "1".into()],
        ];
        assert_eq!(text(&rows), "what  bits\n----------\na        1\n");
    }
}
