//! Values in numbered slots, so that indexes hold a number and nothing is moved or allocated twice.

/// The number of a slot; it is given again after its value was removed.
pub(super) type Slot = usize;

/// Values in numbered slots.
pub(super) struct Slab<T> {
    slots: Vec<Option<T>>,
    free: Vec<Slot>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, value: T) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.slots[slot] = Some(value);
            return slot;
        }
        self.slots.push(Some(value));
        self.slots.len() - 1
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<T> {
        let value = self.slots.get_mut(slot)?.take()?;
        self.free.push(slot);
        Some(value)
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&T> {
        self.slots.get(slot)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.slots.get_mut(slot)?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.slots.iter().enumerate().filter_map(|(slot, value)| Some((slot, value.as_ref()?)))
    }
}
