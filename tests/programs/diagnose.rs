//! The example `diagnose`: a healthy network without findings, and five broken ones with theirs.

use super::program::diagnose;
use anyhow::Result;

#[test]
fn each_of_five_broken_networks_has_its_findings() -> Result<()> {
    let text = diagnose()?.well();
    let reports: Vec<_> = text.split("── ").skip(1).collect();
    let expected: [(&str, &[&str]); 6] = [
        ("Healthy", &[]),
        (
            "1. LSTM, forget bias -3",
            &["layer 0: the gradient vanishes along time", "layer 0: a gate is shut (f)"],
        ),
        ("2. Tanh network", &["layer 0: the gradient explodes along time"]),
        ("3. ReLU network", &["layer 0: units are dead"]),
        ("4. The healthy LSTM, candle_nn::LayerNorm", &["parameters without a gradient"]),
        ("5. Two layers", &["layer 0: a gate is shut (i)", "layer 1: a gate is shut (i)"]),
    ];
    assert_eq!(reports.len(), expected.len(), "{text}");
    for (report, (title, findings)) in reports.iter().zip(expected) {
        assert!(report.starts_with(title), "{report}");
        assert_eq!(report.contains("No finding in 5 batches"), findings.is_empty(), "{report}");
        let severe =
            report.lines().filter_map(|line| line.strip_prefix("SEVERE   ")).collect::<Vec<_>>();
        assert!(findings.iter().all(|finding| severe.contains(finding)), "{severe:?}");
        assert!(findings.is_empty() != report.contains("         try "), "{report}");
    }
    Ok(())
}
