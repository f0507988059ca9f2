//! Trains recurrent networks side by side and reports whether their gradients survive.
