"""entrepot: a package repository proxy. Edges translate, flows orchestrate, rules decide, storage keeps."""
