"""npm: the registry protocol that npm, yarn, pnpm and bun speak."""
