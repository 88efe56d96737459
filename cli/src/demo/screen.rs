//! What the user sees meanwhile: one answer as it comes, and a line about all of them.

use std::io::IsTerminal as _;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use weir_setup::tool::clock::Stopwatch;

/// Shows nothing where standard output is no terminal.
pub(super) struct Screen {
    show: Option<Show>,
}

struct Show {
    multi: MultiProgress,
    /// The line that is being said.
    text: ProgressBar,
    status: ProgressBar,
    /// The query whose answer is shown.
    followed: Option<usize>,
    line: String,
    width: usize,
    watch: Stopwatch,
    live: usize,
    done: usize,
    total: usize,
    bytes: usize,
}

impl Screen {
    pub(super) fn new(total: usize, quiet: bool) -> Self {
        let wanted = !quiet && std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        Self {
            show: wanted.then(|| Show::new(total)),
        }
    }

    /// A query has been asked.
    pub(super) fn begun(&mut self) {
        if let Some(show) = &mut self.show {
            show.live += 1;
            show.update();
        }
    }

    /// A piece of the answer to query `index`, which began with `before`. Where none is followed, this one is.
    pub(super) fn text(&mut self, index: usize, prompt: &str, before: &str, piece: &str) {
        if let Some(show) = &mut self.show {
            show.bytes += piece.len();
            if show.followed.is_none() {
                show.follow(index, prompt, before);
            }
            if show.followed == Some(index) {
                show.say(piece);
            }
            show.update();
        }
    }

    /// The answer is complete, or never will be.
    pub(super) fn over(&mut self, index: usize) {
        if let Some(show) = &mut self.show {
            show.live -= 1;
            show.done += 1;
            if show.followed == Some(index) {
                show.followed = None;
                show.end_line();
                show.print("");
            }
            show.update();
        }
    }

    /// Clears the status away.
    pub(super) fn close(self) {
        if let Some(show) = self.show {
            show.text.finish_and_clear();
            show.status.finish_and_clear();
        }
    }
}

impl Show {
    fn new(total: usize) -> Self {
        let multi = MultiProgress::new();
        let plain =
            ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        let line = || multi.add(ProgressBar::new_spinner()).with_style(plain.clone());
        let (text, status) = (line(), line());
        let width = usize::from(console::Term::stderr().size().1)
            .saturating_sub(1)
            .max(20);
        let watch = Stopwatch::start();
        let line = String::new();
        Self {
            multi,
            text,
            status,
            followed: None,
            line,
            width,
            watch,
            live: 0,
            done: 0,
            total,
            bytes: 0,
        }
    }

    fn follow(&mut self, index: usize, prompt: &str, before: &str) {
        self.followed = Some(index);
        for line in wrap(&format!("> {}", prompt.replace('\n', " ")), self.width) {
            self.print(&line);
        }
        self.say(before);
    }

    fn say(&mut self, piece: &str) {
        for (number, part) in piece.split('\n').enumerate() {
            if number > 0 {
                self.end_line();
            }
            // Control characters would move the cursor.
            self.line.extend(part.chars().filter(|c| !c.is_control()));
            let mut lines = wrap(&self.line, self.width);
            let rest = lines.pop().unwrap_or_default();
            for line in lines {
                self.print(&line);
            }
            self.line = rest;
        }
        self.text.set_message(self.line.clone());
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.text.set_message("");
        self.print(&line);
    }

    fn print(&self, line: &str) {
        // A terminal that has gone away is noticed elsewhere.
        let _ = self.multi.println(line);
    }

    fn update(&self) {
        let rate = self.bytes as f64 / self.watch.seconds().max(0.001);
        let Self {
            live, done, total, ..
        } = self;
        self.status.set_message(format!(
            "-- {done} of {total} answers complete, {live} live, {rate:.0} characters/s through the weir"
        ));
    }
}

/// Breaks at blanks so that no line has more than `width` characters; the last line is what is still open.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in text.split_inclusive(' ') {
        let size = word.chars().count();
        if length > 0 && length + size > width {
            lines.push(String::new());
            length = 0;
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(word);
        }
        length += size;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_blanks_and_lose_nothing() {
        let text = "one two three four five six";
        let lines = wrap(text, 10);
        assert_eq!(lines, ["one two ", "three ", "four five ", "six"]);
        assert_eq!(lines.concat(), text);
        assert_eq!(wrap("", 10), [""]);
    }
}
