# The list's parameters: by status, or by how the reference begins.
s/mut email, mut status, mut name_prefix\] = \[const \{ None \}; 5\]/mut status, mut reference_prefix] = [const { None }; 4]/
/"email" => &mut email,/d
s/"name_prefix" => &mut name_prefix/"reference_prefix" => \&mut reference_prefix/
s/Filter::parse\(email\.as_deref\(\), status\.as_deref\(\), name_prefix\.as_deref\(\)\)/Filter::parse(status.as_deref(), reference_prefix.as_deref())/
# Its test.
s/limit=5&name_prefix=a%20b/limit=5\&reference_prefix=a%2Fb/
s/Filter::NamePrefix\("a b"\.to_owned\(\)\)/Filter::ReferencePrefix("a\/b".to_owned().try_into().unwrap())/
s/email=a@b\.de&status=paid|email=a@b\.de&status=active/reference_prefix=a\&status=paid/
