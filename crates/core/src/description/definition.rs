//! Graphs in candle's operations, on every device and in every dtype.

use super::{Adjoint, Binary, Graph, Node, NodeId, Norm, Piece, Term, Unary};
use crate::{linear, relu, Gate};
use candle_core::{bail, Result, Tensor};
use candle_nn::ops::{sigmoid, softmax};

/// The inputs of a step.
#[derive(Clone, Copy, Debug)]
pub struct StepInput<'a> {
    /// The weights, in the order of [`Graph::weights`].
    pub weights: &'a [Tensor],
    /// x_t, `(batch, input)`.
    pub x: &'a Tensor,
    /// The state before the step, each field `(batch, size)`.
    pub state: &'a [Tensor],
    /// h_{t-1} after dropout, for a graph with a mask.
    pub masked: Option<&'a Tensor>,
}

/// The values of the nodes that have been computed.
struct Evaluation<'a> {
    graph: &'a Graph,
    input: StepInput<'a>,
    nodes: Vec<Option<Tensor>>,
    linears: Vec<Option<Tensor>>,
}

impl<'a> Evaluation<'a> {
    fn new(graph: &'a Graph, input: StepInput<'a>) -> Self {
        Self {
            graph,
            input,
            nodes: vec![None; graph.nodes.len()],
            linears: vec![None; graph.linears.len()],
        }
    }

    fn value(&mut self, id: NodeId) -> Result<Tensor> {
        if let Some(value) = &self.nodes[id] {
            return Ok(value.clone());
        }
        let width = self.graph.widths[id];
        let columns = |of: &Tensor, start: usize| match of.dim(1)? {
            whole if whole == width => Ok(of.clone()),
            _ => of.narrow(1, start, width),
        };
        let value = match self.graph.nodes[id] {
            Node::Input { start } => columns(self.input.x, start)?,
            Node::Field { field, start } => columns(&self.input.state[field], start)?,
            Node::Weight { weight, start } => {
                self.input.weights[weight].narrow(0, start, width)?.unsqueeze(0)?
            }
            Node::Constant(bits) => constant(f64::from_bits(bits), self.input.x)?,
            Node::Linear { linear, start } => columns(&self.linear(linear)?, start)?,
            Node::Unary(function, a) => unary(function, &self.value(a)?)?,
            Node::Binary(function, a, b) => match self.masked(function, a, b) {
                Some(masked) => masked?,
                None => binary(function, &self.value(a)?, &self.value(b)?)?,
            },
            Node::Sum(a) => self.value(a)?.sum_keepdim(1)?,
            Node::Scale(norm, v) => {
                let squares = centred(norm, &self.value(v)?)?.sqr()?.mean_keepdim(1)?;
                (squares + norm.eps())?.sqrt()?.recip()?
            }
            Node::Normalise(norm, v, scale) => {
                centred(norm, &self.value(v)?)?.broadcast_mul(&self.value(scale)?)?
            }
            Node::Softmax(v) => softmax(&self.value(v)?, 1)?,
            Node::CumulativeSum { of, reverse } => cumulative_sum(&self.value(of)?, reverse)?,
            Node::Part { of, start } => self.value(of)?.narrow(1, start, width)?,
            Node::Mask { .. } | Node::Zoneout { .. } => {
                bail!("description: a step does not draw masks")
            }
            Node::Grad { .. }
            | Node::SourceGrad { .. }
            | Node::PartsGrad { .. }
            | Node::NormaliseGrad { .. } => {
                bail!("description: a step has no gradients")
            }
        };
        self.nodes[id] = Some(value.clone());
        Ok(value)
    }

    /// The masked output, or columns of it, if a ∘ b is h ∘ mask.
    fn masked(&self, function: Binary, a: NodeId, b: NodeId) -> Option<Result<Tensor>> {
        match (function, self.graph.nodes[a], self.graph.nodes[b]) {
            (Binary::Mul, Node::Field { field: 0, start }, Node::Mask { start: same })
                if start == same =>
            {
                Some(self.input.masked?.narrow(1, start, self.graph.widths[a]))
            }
            _ => None,
        }
    }

    fn linear(&mut self, index: usize) -> Result<Tensor> {
        if let Some(value) = &self.linears[index] {
            return Ok(value.clone());
        }
        let graph = self.graph;
        let width = graph.linears[index].width;
        let mut sum: Option<Tensor> = None;
        let mut bias: Option<Tensor> = None;
        for term in &graph.linears[index].terms {
            match *term {
                Term::Bias { weight, row } => {
                    let own = self.input.weights[weight].narrow(0, row, width)?;
                    bias = Some(bias.map_or(Ok(own.clone()), |bias| bias + own)?);
                }
                Term::Product { weight, row, source } => {
                    let matrix = self.input.weights[weight].narrow(0, row, width)?;
                    let product = linear(&self.value(source)?, &matrix, None)?;
                    sum = Some(sum.map_or(Ok(product.clone()), |sum| sum + product)?);
                }
            }
        }
        let value = match (sum, bias) {
            (Some(sum), Some(bias)) => sum.broadcast_add(&bias)?,
            (Some(sum), None) => sum,
            (None, Some(bias)) => {
                bias.unsqueeze(0)?.broadcast_as((self.input.x.dim(0)?, width))?.contiguous()?
            }
            (None, None) => bail!("description: a sum without terms"),
        };
        self.linears[index] = Some(value.clone());
        Ok(value)
    }
}

impl Graph {
    /// The state after a step.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn step(&self, input: StepInput) -> Result<Vec<Tensor>> {
        let mut evaluation = Evaluation::new(self, input);
        let whole = |(&id, &size): (&NodeId, &usize)| {
            // A constant, or a vector of weights, is the same for all examples.
            evaluation.value(id)?.broadcast_as((input.x.dim(0)?, size))
        };
        self.next.iter().zip(&self.fields).map(whole).collect()
    }

    /// The gates of a step.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn gate_values(&self, input: StepInput) -> Result<Vec<Gate>> {
        let mut evaluation = Evaluation::new(self, input);
        let gates = self.gates.iter();
        gates
            .map(|gate| {
                let values = evaluation.value(gate.node)?;
                Ok(Gate { name: gate.name, values, keeps: gate.keeps })
            })
            .collect()
    }
}

impl Adjoint {
    /// The gradient of the state before a step, from `grad`, that of the state after it. In
    /// candle's graph it depends on the weights that multiply it; everything else is constant.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn vjp(&self, input: StepInput, grad: &[Tensor]) -> Result<Vec<Tensor>> {
        let detached = |tensors: &[Tensor]| tensors.iter().map(Tensor::detach).collect::<Vec<_>>();
        let (weights, state) = (detached(input.weights), detached(input.state));
        let x = input.x.detach();
        let constants = StepInput { weights: &weights, x: &x, state: &state, masked: None };
        let mut pass = BackwardEvaluation {
            adjoint: self,
            weights: input.weights,
            step: Evaluation::new(&self.graph, constants),
            grad,
            nodes: vec![None; self.graph.nodes.len()],
        };
        let batch = x.dim(0)?;
        let fields = self.fields.iter().zip(&self.graph.fields);
        fields.map(|(pieces, &size)| pass.assembled(pieces, batch, size)).collect()
    }
}

struct BackwardEvaluation<'a> {
    adjoint: &'a Adjoint,
    weights: &'a [Tensor],
    step: Evaluation<'a>,
    grad: &'a [Tensor],
    nodes: Vec<Option<Tensor>>,
}

impl BackwardEvaluation<'_> {
    fn value(&mut self, id: NodeId) -> Result<Tensor> {
        if let Some(value) = &self.nodes[id] {
            return Ok(value.clone());
        }
        let graph = &self.adjoint.graph;
        let width = graph.widths[id];
        let value = match graph.nodes[id] {
            Node::Weight { weight, start } => {
                self.weights[weight].narrow(0, start, width)?.unsqueeze(0)?
            }
            _ if id < self.adjoint.forward => self.step.value(id)?,
            Node::Grad { field, start } => self.grad[field].narrow(1, start, width)?,
            Node::SourceGrad { source } => self.source_grad(source)?,
            Node::PartsGrad { of } => {
                let adjoint = self.adjoint;
                let parts = adjoint.parts.iter().find(|(part, _)| *part == of);
                let pieces = parts.map_or(&[][..], |(_, pieces)| pieces);
                self.assembled(pieces, self.step.input.x.dim(0)?, width)?
            }
            Node::NormaliseGrad { norm, grad, value, scale } => {
                let (grad, y) = (self.value(grad)?, self.value(value)?);
                let along = y.broadcast_mul(&grad.broadcast_mul(&y)?.mean_keepdim(1)?)?;
                centred(norm, &grad)?.broadcast_sub(&along)?.broadcast_mul(&self.value(scale)?)?
            }
            Node::Unary(function, a) => unary(function, &self.value(a)?)?,
            Node::Binary(function, a, b) => binary(function, &self.value(a)?, &self.value(b)?)?,
            Node::Sum(a) => self.value(a)?.sum_keepdim(1)?,
            Node::CumulativeSum { of, reverse } => cumulative_sum(&self.value(of)?, reverse)?,
            _ => self.step.value(id)?,
        };
        self.nodes[id] = Some(value.clone());
        Ok(value)
    }

    /// Wᵀ d, summed over all products that multiply `source`.
    fn source_grad(&mut self, source: NodeId) -> Result<Tensor> {
        let adjoint = self.adjoint;
        let mut sum: Option<Tensor> = None;
        for (linear, pieces) in adjoint.linears.iter().enumerate() {
            let width = adjoint.graph.linears[linear].width;
            for (weight, row, of) in adjoint.graph.products(linear) {
                if of != source || pieces.is_empty() {
                    continue;
                }
                let d = self.assembled(pieces, self.step.input.x.dim(0)?, width)?;
                let grad = d.matmul(&self.weights[weight].narrow(0, row, width)?)?;
                sum = Some(sum.map_or(Ok(grad.clone()), |sum| sum + grad)?);
            }
        }
        match sum {
            Some(sum) => Ok(sum),
            None => bail!("description: no product multiplies node {source}"),
        }
    }

    /// The sum of all pieces, `(batch, width)`.
    fn assembled(&mut self, pieces: &[Piece], batch: usize, width: usize) -> Result<Tensor> {
        let like = self.step.input.x;
        let mut sum = Tensor::zeros((batch, width), like.dtype(), like.device())?;
        for piece in pieces {
            let own = self.value(piece.node)?.broadcast_as((batch, piece.width))?;
            sum = (sum + own.pad_with_zeros(1, piece.start, width - piece.start - piece.width)?)?;
        }
        Ok(sum)
    }
}

/// v less its mean, if the normalisation subtracts it.
fn centred(norm: Norm, v: &Tensor) -> Result<Tensor> {
    match norm.centred {
        true => v.broadcast_sub(&v.mean_keepdim(1)?),
        false => Ok(v.clone()),
    }
}

/// The sums of `v` over all columns up to each, or from each on: a product with a triangle of ones.
fn cumulative_sum(v: &Tensor, reverse: bool) -> Result<Tensor> {
    let width = v.dim(1)?;
    let ones = match reverse {
        false => Tensor::triu2(width, v.dtype(), v.device())?,
        true => Tensor::tril2(width, v.dtype(), v.device())?,
    };
    v.matmul(&ones)
}

fn constant(value: f64, like: &Tensor) -> Result<Tensor> {
    Tensor::full(value, (1, 1), like.device())?.to_dtype(like.dtype())
}

fn unary(function: Unary, a: &Tensor) -> Result<Tensor> {
    match function {
        Unary::Neg => a.neg(),
        Unary::Sigmoid => sigmoid(a),
        Unary::Tanh => a.tanh(),
        Unary::Relu => relu(a),
        Unary::Exp => a.exp(),
        Unary::Sqrt => a.sqrt(),
        Unary::Recip => a.recip(),
        Unary::Floor => a.detach().floor(),
    }
}

fn binary(function: Binary, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match function {
        Binary::Add => a.broadcast_add(b),
        Binary::Sub => a.broadcast_sub(b),
        Binary::Mul => a.broadcast_mul(b),
        Binary::SigmoidGrad => a.broadcast_mul(&(b * b.affine(-1.0, 1.0)?)?),
        Binary::TanhGrad => a.broadcast_mul(&b.sqr()?.affine(-1.0, 1.0)?),
        Binary::ReluGrad => a.broadcast_mul(&b.gt(0.0)?.to_dtype(b.dtype())?),
    }
}
