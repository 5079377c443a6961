//! What only this store can get wrong.
