//! Opening the encrypted database.
