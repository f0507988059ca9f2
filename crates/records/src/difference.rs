//! The differences between two configurations.

use serde_json::Value;

/// One line for each value that differs, with its name: `lr: 0.005 there, 0.01 asked for`.
pub fn differences(there: &Value, asked: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", Some(there), Some(asked), &mut found);
    found
}

fn compare(name: &str, there: Option<&Value>, asked: Option<&Value>, found: &mut Vec<String>) {
    match (there, asked) {
        (Some(Value::Object(there)), Some(Value::Object(asked))) => {
            let new = asked.keys().filter(|key| !there.contains_key(*key));
            for key in there.keys().chain(new) {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                compare(&name, there.get(key), asked.get(key), found);
            }
        }
        (Some(Value::Array(there)), Some(Value::Array(asked)))
            if there.len() == asked.len() && there.iter().chain(asked).all(Value::is_object) =>
        {
            for (index, (there, asked)) in there.iter().zip(asked).enumerate() {
                compare(&format!("{name}[{index}]"), Some(there), Some(asked), found);
            }
        }
        (there, asked) if there == asked => {}
        (there, asked) => {
            found.push(format!("{name}: {} there, {} asked for", shown(there), shown(asked)))
        }
    }
}

/// Lists of named things by their names.
fn shown(value: Option<&Value>) -> String {
    match value {
        None => "nothing".to_string(),
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
        let there = json!({"lr": 0.005, "seeds": [0, 1], "task": {"name": "adding", "length": 8}, "old": null,
            "variants": [{"variant": "lstm", "hidden": 3}], "same": {"a": [1.5]}});
        let mut asked = json!({"lr": 0.01, "seeds": [0], "task": {"name": "adding", "length": 9}, "new": "x",
            "variants": [{"variant": "gru", "hidden": 3}], "same": {"a": [1.5]}});
        let expected = [
            "lr: 0.005 there, 0.01 asked for",
            "old: null there, nothing asked for",
            "seeds: [0, 1] there, [0] asked for",
            "task.length: 8 there, 9 asked for",
            "variants[0].variant: lstm there, gru asked for",
            "new: nothing there, x asked for",
        ];
        assert_eq!(differences(&there, &asked), expected);
        asked["variants"] = json!([{"variant": "gru"}, {"variant": "lstm"}]);
        assert_eq!(differences(&there, &asked)[4], "variants: [lstm] there, [gru, lstm] asked for");
        assert!(differences(&there, &there).is_empty());
    }
}
