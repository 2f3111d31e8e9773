// Placeholder until native/ lands.
