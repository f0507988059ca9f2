mod parts;
mod plain;
mod states;
