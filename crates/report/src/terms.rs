//! The terms of the report, for new readers.

/// A term and what it means.
pub(super) struct Term {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    /// The title and address of a text about it.
    pub(super) source: Option<(&'static str, &'static str)>,
}

const fn term(name: &'static str, meaning: &'static str) -> Term {
    Term { name, meaning, source: None }
}

const fn cited(
    name: &'static str,
    meaning: &'static str,
    source: (&'static str, &'static str),
) -> Term {
    Term { name, meaning, source: Some(source) }
}

/// All terms, from the simple to the derived.
pub(super) const TERMS: &[Term] = &[
    term("T", "The length of the sequences, in steps."),
    term(
        "h, c",
        "The state that a recurrent network carries from step to step: the hidden state h, which \
         the next layer and the read-out see, and in an LSTM the cell state c.",
    ),
    term("loss", "A number that says how wrong the answers are. Training lowers it."),
    term(
        "baseline",
        "The loss of the best answer that ignores the input, for instance always the mean. A \
         network at the baseline has learned nothing from the input.",
    ),
    term(
        "held-out",
        "Examples that are not used for training, so that a low loss there is not \
        just memory.",
    ),
    term("solved", "The task's bound was met in three evaluations in a row. The run then stops."),
    cited(
        "dL/dh, gradient",
        "How much the loss L would change if the hidden state h of one step changed a little: one \
         number per unit. The plots show the size (norm) of all of them together. Training follows \
         the gradient, so a step whose dL/dh is zero teaches the weights nothing.",
        ("Pascanu, Mikolov and Bengio 2013", "https://arxiv.org/abs/1211.5063"),
    ),
    term("dL/dc", "The same for the cell state c, with h held fixed."),
    term(
        "lag",
        "How many steps before the end of the sequence a state lies. The longest lag of a task is \
         the distance over which it must be remembered.",
    ),
    term(
        "ρ (rho), half-life",
        "If the gradient shrinks by the factor e to the power −ρ at every step back, it halves \
         every ln 2/ρ steps: its half-life. “×2 in N” is growth: it doubles every N steps. “No \
         decay”: it neither halves nor doubles within ten lengths of the sequence.",
    ),
    cited(
        "vanishing, exploding",
        "A gradient that shrinks to nothing, or grows without bound, towards the first steps.",
        ("Bengio, Simard and Frasconi 1994", "https://doi.org/10.1109/72.279181"),
    ),
    term("horizon", "The largest lag at which dL/dh still has a thousandth of its size at lag 0."),
    term(
        "first/last",
        "The size of dL/dh at the first step over that at the last step: what is \
        left of it.",
    ),
    term(
        "R²",
        "The share of the variance that a fitted line explains: 1 is a perfect fit, 0 none. A \
         level or crooked profile has a low R², and its half-life says little.",
    ),
    term(
        "underflow",
        "A number closer to zero than the number format can hold: below about 1e-38 in f32. It \
         loses its digits and becomes exactly zero.",
    ),
    term(
        "epsilon",
        "The smallest share that a sum still notices: 1.2e-7 in f32. A gradient below that share \
         of another is lost when both are added.",
    ),
    cited(
        "clipped",
        "Before an update, a gradient whose norm is above a bound is scaled down to the bound, so \
         that one large gradient does not ruin the weights.",
        ("Pascanu, Mikolov and Bengio 2013", "https://arxiv.org/abs/1211.5063"),
    ),
    cited(
        "spectral radius",
        "The largest absolute eigenvalue of a recurrent weight matrix: the factor by which it can \
         stretch a state per step in the long run.",
        ("Saxe, McClelland and Ganguli 2013", "https://arxiv.org/abs/1312.6120"),
    ),
    cited(
        "chrono",
        "An initialisation of the gate biases by which the cells of an LSTM or GRU remember over \
         lags spread up to the longest one.",
        ("Tallec and Ollivier 2018", "https://arxiv.org/abs/1804.11188"),
    ),
    cited(
        "adding",
        "A task: two of the numbers of a sequence are marked, and the network answers with their \
         sum at the end.",
        ("Hochreiter and Schmidhuber 1997", "https://doi.org/10.1162/neco.1997.9.8.1735"),
    ),
    term(
        "seed",
        "The number from which initial weights and data are drawn. Runs with several seeds show \
         how much of a difference is chance.",
    ),
    term(
        "n/a, not measured",
        "“n/a”: the number has no meaning here, as for c in a network without c. “Not measured”: \
         it has one, but no run came far enough. “Too few points”: too few lags hold a gradient to \
         fit a line.",
    ),
];
