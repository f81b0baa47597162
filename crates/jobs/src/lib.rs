//! One file a job kind: settings, checks at plan time, and the call into the floors below.
