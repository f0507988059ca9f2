//! The claims for readers: lines in a terminal, a page, and a document.

use crate::finding::{Citation, ClaimVerdict, Finding, Measured};
use askama::Template;
use recurrent_report::{page, significant, wrap};

/// Information about all claims of a page.
pub(crate) struct PageInfo {
    pub(crate) seeds: u64,
    pub(crate) quick: bool,
    pub(crate) full: bool,
    /// The requested claims, separated by commas; empty for all.
    pub(crate) only: String,
}

impl PageInfo {
    fn words(&self) -> String {
        let seeds = self.seeds;
        let form = match (self.quick, self.full) {
            (true, _) => {
                " This was a trial with short sequences and a few steps: it decides \
                nothing."
            }
            (_, true) => {
                " This was the full form: trained at twice the length that is named, for twice as \
                 many steps."
            }
            _ => "",
        };
        format!(
            "Each claim is stated so that it can fail, and is measured with {seeds} seeds. The \
             rule beside it derives the verdict from the numbers; no verdict is written by hand. \
             Networks that are compared share seeds, data, and the initial value of every weight \
             that both have. T is the number of steps of a sequence. ρ is the decay rate of the \
             gradient: going one step back in time multiplies it by e to the power −ρ, so it \
             halves every ln 2/ρ steps.{form}"
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

/// All verdicts, one per line.
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

/// The number of runs that did not converge, which still count in the numbers.
fn unconverged(finding: &Finding) -> String {
    let unsolved = match finding.unsolved {
        0 => String::new(),
        runs => {
            let plural = if runs == 1 { "" } else { "s" };
            format!("; {runs} run{plural} ended unsolved and are counted")
        }
    };
    match finding.failed {
        0 => unsolved,
        failed => {
            format!("{unsolved}, {failed} of them by a failure, which counts as learning nothing")
        }
    }
}

/// A caution if nobody looked the source up.
fn from_memory(source: &Citation) -> &'static str {
    if source.read {
        ""
    } else {
        " (from memory, not looked up)"
    }
}

fn cited(source: &Citation) -> String {
    let Citation { paper, says, .. } = source;
    format!("{paper}: {says}{}", from_memory(source))
}

/// The mark that the report's tables use for all, some and no runs.
fn mark(verdict: ClaimVerdict) -> &'static str {
    match verdict {
        ClaimVerdict::Supported => "all",
        ClaimVerdict::TrueOnlyIf => "some",
        ClaimVerdict::Refuted => "none",
        ClaimVerdict::Open => "open",
    }
}

/// The style of the page, in addition to that of the report.
const STYLE: &str = include_str!("page.css");

#[derive(Template)]
#[template(path = "claims.html")]
struct Page<'a> {
    conclusion: String,
    command: String,
    words: String,
    sections: Vec<Section<'a>>,
}

/// The section of a claim.
struct Section<'a> {
    id: &'a str,
    claim: &'a str,
    mark: &'static str,
    verdict: &'static str,
    because: &'a str,
    prediction: &'a str,
    experiment: &'a str,
    rule: &'a str,
    literature: Vec<Literature>,
    rows: Vec<Row<'a>>,
    command: &'a str,
    facts: String,
}

/// A paper, its address if known, and its statement.
struct Literature {
    paper: &'static str,
    url: &'static str,
    says: String,
}

/// A measured number.
struct Row<'a> {
    what: &'a str,
    cells: [String; 5],
}

/// The page.
pub(crate) fn html(findings: &[Finding], about: &PageInfo) -> String {
    let template = Page {
        conclusion: conclusion(findings),
        command: about.command(),
        words: about.words(),
        sections: findings.iter().map(section).collect(),
    };
    let body = template.render().expect("writing to a string does not fail");
    page("Claims about vanishing gradients", &body)
}

/// The number of claims for each verdict.
fn conclusion(findings: &[Finding]) -> String {
    let all = [
        ClaimVerdict::Supported,
        ClaimVerdict::TrueOnlyIf,
        ClaimVerdict::Refuted,
        ClaimVerdict::Open,
    ];
    let part = |verdict: ClaimVerdict| {
        let number = findings.iter().filter(|finding| finding.verdict == verdict).count();
        let word = match verdict {
            ClaimVerdict::TrueOnlyIf => "true under a condition",
            verdict => verdict.word(),
        };
        (number > 0).then(|| format!("{number} {word}"))
    };
    let parts: Vec<String> = all.into_iter().filter_map(part).collect();
    format!("Of {} claims: {}.", findings.len(), parts.join(", "))
}

fn section(finding: &Finding) -> Section<'_> {
    let Finding { claim, verdict, because, .. } = finding;
    let literature = |source: &Citation| Literature {
        paper: source.paper,
        url: url(source.paper),
        says: format!("{}{}", source.says, from_memory(source)),
    };
    Section {
        id: claim.id,
        claim: claim.claim,
        mark: mark(*verdict),
        verdict: verdict.word(),
        because,
        prediction: claim.prediction,
        experiment: claim.experiment,
        rule: claim.rule,
        literature: claim.literature.iter().map(literature).collect(),
        rows: finding.measured.iter().map(row).collect(),
        command: &finding.command,
        facts: format!(
            "{:.0} s, {} seeds{}.",
            finding.seconds,
            finding.seeds.len(),
            unconverged(finding)
        ),
    }
}

fn row(measured: &Measured) -> Row<'_> {
    let number = |value| significant(value, 3);
    let Measured { value, low, high, unit, kind, .. } = *measured;
    let cells = [number(value), number(low), number(high), unit.to_owned(), kind.to_owned()];
    Row { what: &measured.what, cells }
}

/// The address of a paper; empty if unknown.
fn url(paper: &str) -> &'static str {
    const PAPERS: [(&str, &str); 9] = [
        ("Ba, Kiros and Hinton 2016", "https://arxiv.org/abs/1607.06450"),
        ("Bai, Kolter and Koltun 2018", "https://arxiv.org/abs/1803.01271"),
        ("Chung et al. 2014", "https://arxiv.org/abs/1412.3555"),
        ("Cooijmans et al. 2016", "https://arxiv.org/abs/1603.09025"),
        ("Hochreiter and Schmidhuber 1997", "https://doi.org/10.1162/neco.1997.9.8.1735"),
        ("Ke et al. 2017", "https://arxiv.org/abs/1711.02326"),
        ("Le, Jaitly and Hinton 2015", "https://arxiv.org/abs/1504.00941"),
        ("Pascanu, Mikolov and Bengio 2013", "https://arxiv.org/abs/1211.5063"),
        ("Tallec and Ollivier 2018", "https://arxiv.org/abs/1804.11188"),
    ];
    PAPERS.iter().find(|(name, _)| paper.starts_with(name)).map_or("", |(_, url)| url)
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
