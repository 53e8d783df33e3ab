/** Calls to addresses that customers give: rules, early check, guarded dispatcher. */
export * from './address-rules.js';
export * from './check-url.js';
export * from './guarded-dispatcher.js';
