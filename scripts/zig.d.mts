export function findZig(): string[] | undefined;
