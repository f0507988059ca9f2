//! What a person sees of the claims: lines in a terminal, a page, and a document.

use crate::finding::{Citation, ClaimVerdict, Finding, Measured};
use recurrent_report::{escape, page, significant, wrap};

/// What holds for all claims of a page.
pub(crate) struct PageInfo {
    pub(crate) seeds: u64,
    pub(crate) quick: bool,
    pub(crate) full: bool,
    /// The claims that were asked for, with commas between them; empty for all.
    pub(crate) only: String,
}

impl PageInfo {
    fn words(&self) -> String {
        let seeds = self.seeds;
        let form = match (self.quick, self.full) {
            (true, _) => {
                " This was a trial with short sequences and a few steps, which decides \
                nothing."
            }
            (_, true) => {
                " This was the full form: trained at twice the length that is named, for twice as \
                 many steps."
            }
            _ => "",
        };
        format!(
            "Each claim is put so that it can fail, and measured with {seeds} seeds. The rule \
             beside it makes the verdict out of the numbers; no verdict is written by hand. \
             Networks that are compared share seeds, data, and the initial value of every weight \
             that both have. T is the number of steps, ρ the decay a step: the gradient falls by \
             e^-ρ.{form}"
        )
    }

    fn command(&self) -> String {
        let form = if self.quick {
            " --quick"
        } else if self.full {
            " --full"
        } else {
            ""
        };
        let only =
            if self.only.is_empty() { String::new() } else { format!(" --only {}", self.only) };
        format!("cargo run --release --example claims -- --seeds {}{form}{only}", self.seeds)
    }
}

/// One finding, for a terminal.
pub(crate) fn terminal(number: usize, of: usize, finding: &Finding, columns: usize) -> String {
    let Finding { claim, verdict, because, .. } = finding;
    let mut text = wrap(&format!("{number}/{of} {}: “{}”", claim.id, claim.claim), columns, "    ");
    let mut line =
        |line: String| text += &format!("    {}", wrap(&line, columns.saturating_sub(4), "      "));
    line(format!("{}: {because}", verdict.word().to_uppercase()));
    finding
        .measured
        .iter()
        .for_each(|measured| line(format!("· {}: {}", measured.what, numbers(measured))));
    claim.literature.iter().for_each(|source| line(format!("literature: {}", cited(source))));
    text + &format!(
        "    {:.0} s, {} seeds{}\n",
        finding.seconds,
        finding.seeds.len(),
        unconverged(finding)
    )
}

/// All verdicts, a line each.
pub(crate) fn summary(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        text += &format!("{:<16} {}\n", finding.verdict.word(), finding.claim.claim);
    }
    text
}

fn numbers(measured: &Measured) -> String {
    let number = |value| significant(value, 3);
    let unit = if measured.unit.is_empty() { String::new() } else { format!(" {}", measured.unit) };
    if measured.seeds < 2 || measured.low == measured.high {
        return format!("{}{unit}", number(measured.value));
    }
    format!(
        "{}{unit} ({} to {})",
        number(measured.value),
        number(measured.low),
        number(measured.high)
    )
}

/// What was not reached, and is in the numbers all the same.
fn unconverged(finding: &Finding) -> String {
    let unsolved = match finding.unsolved {
        0 => String::new(),
        runs => {
            format!("; {runs} training runs ended unsolved, and are in the numbers as they ended")
        }
    };
    match finding.failed {
        0 => unsolved,
        failed => {
            format!("{unsolved}, {failed} of them by a failure, as if they had learnt nothing")
        }
    }
}

fn cited(source: &Citation) -> String {
    let Citation { paper, says, read } = source;
    format!("{paper}: {says}{}", if *read { "" } else { " (from memory, not looked up)" })
}

/// The mark that the report's tables have for all, some and none of the runs.
fn mark(verdict: ClaimVerdict) -> &'static str {
    match verdict {
        ClaimVerdict::Supported => "all",
        ClaimVerdict::TrueOnlyIf => "some",
        ClaimVerdict::Refuted => "none",
        ClaimVerdict::Open => "open",
    }
}

/// The page.
pub(crate) fn html(findings: &[Finding], about: &PageInfo) -> String {
    let mut body = format!(
        "<style>\n{}</style>\n<header>\n<p class=\"kicker\">recurrent · what is true of \
         it?</p>\n<h1>Claims about vanishing gradients, measured</h1>\n<pre \
         class=\"command\"><code>{}</code></pre>\n</header>\n<section>\n<p>{}</p>\n<table \
         class=\"claims\">\n<thead><tr><th scope=\"col\">claim</th><th \
         scope=\"col\">verdict</th></tr></thead>\n<tbody>\n",
        include_str!("page.css"),
        escape(&about.command()),
        escape(&about.words())
    );
    for Finding { claim, verdict, .. } in findings {
        body += &format!(
            "<tr><th scope=\"row\"><a href=\"#{}\">{}</a></th><td class=\"{}\">{}</td></tr>\n",
            claim.id,
            escape(claim.claim),
            mark(*verdict),
            verdict.word()
        );
    }
    body += "</tbody>\n</table>\n</section>\n";
    findings.iter().for_each(|finding| body += &section(finding));
    page("Claims about vanishing gradients", &body)
}

fn section(finding: &Finding) -> String {
    let Finding { claim, verdict, because, .. } = finding;
    let mut text = format!(
        "<section id=\"{}\" class=\"claim\">\n<h2>{}</h2>\n",
        claim.id,
        escape(claim.claim)
    );
    text += &format!(
        "<p class=\"verdict\"><strong class=\"{}\">{}</strong>: {}.</p>\n<dl class=\"facts\">\n",
        mark(*verdict),
        verdict.word(),
        escape(because)
    );
    for (name, value) in
        [("Prediction", claim.prediction), ("Experiment", claim.experiment), ("Rule", claim.rule)]
    {
        text += &format!("<div class=\"wide\"><dt>{name}</dt><dd>{}</dd></div>\n", escape(value));
    }
    text += "<div class=\"wide\"><dt>Literature</dt>";
    for source in claim.literature {
        text += &format!("<dd>{}.</dd>", escape(&cited(source)));
    }
    text += "</div>\n</dl>\n<div class=\"scroll\" tabindex=\"0\">\n<table>\n<thead><tr><th \
        scope=\"col\">measured</th><th scope=\"col\">value</th><th scope=\"col\">from</th><th \
        scope=\"col\">to</th><th scope=\"col\">unit</th><th scope=\"col\">what it \
        is</th></tr></thead>\n<tbody>\n";
    for measured in &finding.measured {
        let number = |value| escape(&significant(value, 3));
        text += &format!(
            "<tr><th \
             scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            escape(&measured.what),
            number(measured.value),
            number(measured.low),
            number(measured.high),
            escape(measured.unit),
            escape(measured.kind)
        );
    }
    text += "</tbody>\n</table>\n</div>\n";
    let facts =
        format!("{:.0} s, {} seeds{}.", finding.seconds, finding.seeds.len(), unconverged(finding));
    text + &format!(
        "<pre class=\"command\"><code>{}</code></pre>\n<p>{}</p>\n</section>\n",
        escape(&finding.command),
        escape(&facts)
    )
}

/// The document.
pub(crate) fn markdown(findings: &[Finding], about: &PageInfo) -> String {
    let mut text = format!(
        "<!-- written by: cargo run --release --example claims -->\n\n# Claims about vanishing \
         gradients, measured\n\n{}\n\n```sh\n{}\n```\n\n| claim | verdict |\n|---|---|\n",
        about.words(),
        about.command()
    );
    for Finding { claim, verdict, .. } in findings {
        text += &format!("| [{}](#{}) | {} |\n", claim.claim, claim.id, verdict.word());
    }
    for finding in findings {
        let Finding { claim, verdict, because, .. } = finding;
        text += &format!("\n<a id=\"{}\"></a>\n\n## {}\n\n", claim.id, claim.claim);
        text += &format!("**{}**: {because}.\n\n", verdict.word());
        for (name, value) in [
            ("Prediction", claim.prediction),
            ("Experiment", claim.experiment),
            ("Rule", claim.rule),
        ] {
            text += &format!("- {name}: {value}\n");
        }
        for source in claim.literature {
            text += &format!("- Literature: {}.\n", cited(source));
        }
        text += "\n| measured | value | from | to | unit |\n|---|---|---|---|---|\n";
        for measured in &finding.measured {
            let number = |value| significant(value, 3);
            text += &format!(
                "| {} | {} | {} | {} | {} |\n",
                measured.what,
                number(measured.value),
                number(measured.low),
                number(measured.high),
                measured.unit
            );
        }
        text += &format!(
            "\n`{}`: {} seeds{}.\n",
            finding.command,
            finding.seeds.len(),
            unconverged(finding)
        );
    }
    text
}
