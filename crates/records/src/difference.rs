//! The differences between two configurations.

use serde_json::Value;

/// One line for each value that differs, with its name: `lr: expected 0.005, got 0.01`.
pub fn differences(expected: &Value, got: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", Some(expected), Some(got), &mut found);
    found
}

fn compare(name: &str, expected: Option<&Value>, got: Option<&Value>, found: &mut Vec<String>) {
    match (expected, got) {
        (Some(Value::Object(expected)), Some(Value::Object(got))) => {
            let new = got.keys().filter(|key| !expected.contains_key(*key));
            for key in expected.keys().chain(new) {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                compare(&name, expected.get(key), got.get(key), found);
            }
        }
        (Some(Value::Array(expected)), Some(Value::Array(got)))
            if expected.len() == got.len() && expected.iter().chain(got).all(Value::is_object) =>
        {
            for (index, (expected, got)) in expected.iter().zip(got).enumerate() {
                compare(&format!("{name}[{index}]"), Some(expected), Some(got), found);
            }
        }
        (expected, got) if expected == got => {}
        (expected, got) => {
            found.push(format!("{name}: expected {}, got {}", shown(expected), shown(got)))
        }
    }
}

/// Lists of named things by their names.
fn shown(value: Option<&Value>) -> String {
    match value {
        None => "no value".to_string(),
        Some(Value::Array(values)) => {
            let shown: Vec<_> =
                values.iter().map(|value| shown(value.get("variant").or(Some(value)))).collect();
            format!("[{}]", shown.join(", "))
        }
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_difference_has_a_name() {
        let expected = json!({"lr": 0.005, "seeds": [0, 1], "task": {"name": "adding", "length": 8}, "old": null,
            "variants": [{"variant": "lstm", "hidden": 3}], "same": {"a": [1.5]}});
        let mut got = json!({"lr": 0.01, "seeds": [0], "task": {"name": "adding", "length": 9}, "new": "x",
            "variants": [{"variant": "gru", "hidden": 3}], "same": {"a": [1.5]}});
        let lines = [
            "lr: expected 0.005, got 0.01",
            "old: expected null, got no value",
            "seeds: expected [0, 1], got [0]",
            "task.length: expected 8, got 9",
            "variants[0].variant: expected lstm, got gru",
            "new: expected no value, got x",
        ];
        assert_eq!(differences(&expected, &got), lines);
        got["variants"] = json!([{"variant": "gru"}, {"variant": "lstm"}]);
        assert_eq!(differences(&expected, &got)[4], "variants: expected [lstm], got [gru, lstm]");
        assert!(differences(&expected, &expected).is_empty());
    }
}
