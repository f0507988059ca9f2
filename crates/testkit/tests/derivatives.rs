//! The derivative of every operation of a description against finite differences; and finite
//! differences find every fault that is planted in one.

use recurrent_core::description::{Adjoint, Binary, Builder, Graph, Node, Unary, Value};
use recurrent_testkit::derivative::{check, faults};
use recurrent_testkit::Result;

const INPUT: usize = 3;
const HIDDEN: usize = 5;

/// An operation on the fields h and c, and the weights that it uses.
struct Operation {
    name: &'static str,
    weights: &'static [(&'static str, &'static [usize])],
    next: for<'a> fn(&'a Builder, Value<'a>, Value<'a>) -> [Value<'a>; 2],
}

impl Operation {
    fn graph(&self) -> Result<Graph> {
        let named = |(name, dims): &(&str, &[usize])| (name.to_string(), dims.to_vec());
        let weights: Vec<_> = self.weights.iter().map(named).collect();
        let fields = [HIDDEN; 2];
        Ok(Builder::describe(self.name, INPUT, &fields, &weights, Default::default(), |cell| {
            (self.next)(cell, cell.state(0), cell.state(1)).to_vec()
        })?)
    }
}

macro_rules! operations {
    ($($name:literal [$($weight:literal: $dims:expr),*] $next:expr;)*) => {
        &[$(Operation { name: $name, weights: &[$(($weight, &$dims)),*], next: $next }),*]
    };
}

/// Wide values have five columns, narrow ones one.
const OPERATIONS: &[Operation] = operations! {
    "identity" [] |_, h, c| [c, h];
    "neg" [] |_, h, c| [-h, c];
    "sigmoid" [] |_, h, c| [h.sigmoid(), c];
    "tanh" [] |_, h, c| [h.tanh(), c];
    "relu" [] |_, h, c| [h.relu(), c];
    "exp" [] |_, h, c| [h.exp(), c];
    "sqrt" [] |_, h, c| [(h * h + 0.5).sqrt(), c];
    "recip" [] |_, h, c| [h.exp().recip(), c];
    "floor" [] |_, h, c| [h * 3.0 - (h * 3.0).floor(), c + c.floor() * h];
    "sum" [] |_, h, c| [h.sum() * c, c];
    "narrow functions" [] |_, h, c| {
        let s = h.sum();
        [c * s.tanh() + s.sigmoid(), c * s.exp() + (-s).relu() + (s * s + 1.0).sqrt().recip()]
    };
    "add" [] |_, h, c| [h + c, c];
    "sub" [] |_, h, c| [h - c, c];
    "mul" [] |_, h, c| [h * c, c];
    "div" [] |_, h, c| [h / c.exp(), c];
    "square" [] |_, h, c| [h * h, c];
    "twice" [] |_, h, c| [h + h, c - c.tanh()];
    "add narrow" [] |_, h, c| [c + h.sum(), h.sum() + c];
    "sub narrow" [] |_, h, c| [c - h.sum(), h.sum() - c];
    "mul narrow" [] |_, h, c| [c * h.sum(), h.sum() * c];
    "narrow by narrow" [] |_, h, c| {
        let (a, b) = (h.sum(), c.sum());
        [(a * b - a) * h, (b - a * a) * c + (a + b)]
    };
    "sum of a broadcast" [] |_, h, c| [(h.sum() + c).sum() * c, (c - h.sum()).sum() * h];
    "constants" [] |_, h, c| [1.0 - h, c * 0.7 - 0.1];
    "mean" [] |_, h, c| [h - h.mean(), c];
    "layer norm" [] |_, h, c| [h.layer_norm(0.1), c.rms_norm(0.1)];
    "softmax" [] |_, h, c| [h.softmax(), c.softmax() * h];
    "softmax of a narrow gradient" [] |_, h, c| [(h.softmax() * c).sum() * h, c];
    "softmax in part" [] |_, h, c| [h.softmax().slice(1, 1) * c + h.softmax().slice(3, 1), c];
    "cumulative sum" [] |_, h, c| [h.cumulative_sum(), c.exp().cumulative_sum() * h];
    "cumulative sum of a narrow gradient" [] |_, h, c| [(h * h).cumulative_sum().sum() * c, c];
    "cumulative sum in part" [] |_, h, c| [h.cumulative_sum().slice(2, 1) * c, c];
    "cumulative softmax" ["narrow": [5, 2]] |cell, h, c| {
        let cumax = h.softmax().cumulative_sum();
        [cumax * c + (1.0 - cumax) * h, cell.product("narrow", cumax.slice(1, 2))]
    };
    "weights" ["gain": [5], "bias": [5]] |cell, h, c| {
        [h * cell.weight("gain") + cell.weight("bias"), c]
    };
    "product" ["square": [5, 5]] |cell, h, c| [cell.product("square", h), c];
    "product of a function" ["square": [5, 5]] |cell, h, c| [cell.product("square", h.tanh()), c];
    "products of one value" ["square": [5, 5], "other": [5, 5]] |cell, h, c| {
        [cell.product("square", h), cell.product("other", h) + c]
    };
    "product of a product" ["square": [5, 5], "other": [5, 5]] |cell, h, c| {
        [cell.product("other", cell.product("square", h)), c]
    };
    "product of a slice" ["narrow": [5, 2]] |cell, h, c| {
        [h + cell.product("narrow", h.slice(1, 2)), c]
    };
    "sum of products" [
        "weight_ih": [15, 3], "weight_hh": [15, 5], "bias_ih": [15], "bias_hh": [15]
    ] |cell, h, c| {
        let [a, b, d] = cell.gates(&(h * c));
        [a + b.tanh(), d * c]
    };
    "a whole sum and its blocks" ["square": [10, 5], "weights": [5, 10]] |cell, h, c| {
        let all = cell.product("square", h);
        let [a, b] = all.chunks();
        [cell.product("weights", all.tanh()) + a, b * c]
    };
};

/// LSTM with peepholes, and the GRU in both forms: more than one rule at a time.
const CELLS: &[Operation] = operations! {
    "lstm" [
        "weight_ih": [20, 3], "weight_hh": [20, 5], "bias_ih": [20], "bias_hh": [20],
        "peephole": [5]
    ] |cell, h, c| {
        let [i, f, g, o] = cell.gates(&h);
        let c = f.sigmoid() * c + i.sigmoid() * g.tanh();
        [(o + cell.weight("peephole") * c).sigmoid() * c.tanh(), c]
    };
    "gru, reset after and before the product" [
        "weight_ih": [20, 3], "weight_hh": [20, 5], "bias_ih": [20], "bias_hh": [20]
    ] |cell, h, c| {
        let [r, z] = cell.gates(&h);
        let (r, z) = (r.sigmoid(), z.sigmoid());
        let ([a], [b]) = (cell.input_gates(), cell.recurrent_gates(&h));
        let n = (a + r * b).tanh();
        let [m] = cell.gates(&(r * c));
        [n + z * (h - n), (1.0 - z) * m.tanh() + z * c]
    };
};

fn described() -> impl Iterator<Item = Result<(&'static str, Graph, Adjoint)>> {
    OPERATIONS.iter().chain(CELLS).map(|operation| {
        let graph = operation.graph()?;
        let adjoint = graph.adjoint();
        Ok((operation.name, graph, adjoint))
    })
}

#[test]
fn derivatives_agree_with_finite_differences() -> Result<()> {
    for operation in described() {
        let (name, graph, adjoint) = operation?;
        check(name, &graph, &adjoint)?;
    }
    Ok(())
}

#[test]
fn every_planted_fault_is_found() -> Result<()> {
    let mut missed = Vec::new();
    for operation in described() {
        let (name, graph, adjoint) = operation?;
        let faults = faults(&adjoint);
        assert!(!faults.is_empty(), "{name}");
        for (fault, adjoint) in faults {
            match check(name, &graph, &adjoint) {
                Ok(()) => missed.push(format!("{name}: {fault}")),
                Err(error) => {
                    // By its values, not by a shape that does not fit.
                    let error = error.to_string();
                    assert!(error.contains("the gradient says"), "{name}: {fault}: {error}");
                }
            }
        }
    }
    assert!(missed.is_empty(), "not found:\n{}", missed.join("\n"));
    Ok(())
}

/// The operations above have all functions, so that one without a test of its derivative is found.
#[test]
fn every_function_is_among_the_operations() -> Result<()> {
    let mut steps = Vec::new();
    let mut derivatives = Vec::new();
    for operation in described() {
        let (_, graph, adjoint) = operation?;
        steps.extend(graph.nodes);
        derivatives.extend_from_slice(&adjoint.graph.nodes[adjoint.forward..]);
    }
    let unary =
        |function| steps.iter().any(|node| matches!(node, Node::Unary(f, _) if *f == function));
    let of = |nodes: &[Node], function| {
        nodes.iter().any(|node| matches!(node, Node::Binary(f, ..) if *f == function))
    };
    for function in Unary::ALL {
        assert!(unary(function), "{function:?}");
    }
    for function in Binary::ALL {
        assert!(of(&steps, function) || of(&derivatives, function), "{function:?}");
    }
    assert!(steps.iter().any(|node| matches!(node, Node::Sum(_))));
    assert!(derivatives.iter().any(|node| matches!(node, Node::Sum(_))));
    assert!(derivatives.iter().any(|node| matches!(node, Node::SourceGrad { .. })));
    Ok(())
}
