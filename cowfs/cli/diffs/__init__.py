"""Changes as a person or a program reads them: lines, trees, JSON, patches. Used by ``cowfs diff`` and cowdiff."""
